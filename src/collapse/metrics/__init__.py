"""Measures of samples: pure functions of what was drawn and of real data, free of torch."""
