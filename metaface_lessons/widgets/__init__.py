"""Explorers: a pure function from a state to a figure, with sliders on top. One module each."""
