"""How answers are shown: numbers in words, figures, tables for other programs, the two pages."""
