"""Documentation, and what makes its tables and pictures from the code."""
