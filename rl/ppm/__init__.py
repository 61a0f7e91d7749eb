"""Process preference models: grading the steps of a solution (rStar-Math, section 3.3)."""
