"""The live driver: carry out what policies command, over generators and judges."""
