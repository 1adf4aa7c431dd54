"""Of an evaluation: whose network and which images, its place in a folder, and several networks' against each other."""
