"""Runtime steps 1 and 2 (§4.2): from a question and a history to a preference profile."""
