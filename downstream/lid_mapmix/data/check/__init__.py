"""What is wrong with a corpus: pure measures of samples and of columns, and how the files are read for them."""
