"""Generation: the network run a step at a time, and sampling of the next character."""
