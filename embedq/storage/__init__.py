"""Where jobs are kept: the seam (`base`), functions over a transaction, and one folder for each database."""
