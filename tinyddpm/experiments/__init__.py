"""The experiments behind the numbers on the pages: commands that save their results and can be stopped and resumed."""
