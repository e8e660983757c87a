"""Where people's boxes come from: a file, the whole image, a detector; and which to keep."""
