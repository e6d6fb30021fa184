"""How ensembles of networks are trained: gradients by hand, gradient descent, L-BFGS."""
