"""Many runs: what a grid is made of, in what state its jobs are, and how they are carried out."""
