"""Studies: claims about the layers, measured in the worlds."""
