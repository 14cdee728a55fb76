"""The runs that one command stands for."""
