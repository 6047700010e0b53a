"""Human annotation: a page that a person fills in, what it exports, agreement (§6.3, Table 2)."""
