"""What engines have in common: folders of runs, and everything about clusters whose nodes see one folder."""
