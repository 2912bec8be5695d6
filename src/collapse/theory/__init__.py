"""Closed forms that simulations are held against, each with its derivation or source. Arrays in, arrays out."""
