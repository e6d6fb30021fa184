"""What is claimed about a figure, in a form that recorded numbers decide, and the papers. Imports no torch."""
