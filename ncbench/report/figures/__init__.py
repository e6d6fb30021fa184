"""One file per figure, named as the function in it; `ncbench.report.figure` names them all."""
