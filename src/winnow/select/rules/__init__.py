"""How each rule chooses rows: a file for each, with a function `choose` of a `Pool`."""
