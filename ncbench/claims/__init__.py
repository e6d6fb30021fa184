"""What a paper says of its figures, in a form that recorded numbers decide. Imports no torch."""
