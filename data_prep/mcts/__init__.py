"""rStar-Math's tree search: a policy writes steps, their code is run, and the tree's statistics grade every step."""
