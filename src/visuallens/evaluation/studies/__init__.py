"""The tables and figures of the paper (§7), each from run files that commands have made."""
