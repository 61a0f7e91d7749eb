"""Whether two answers say the same, without symbolic algebra.

`text.plain` writes an answer in one way, `meanings.readings` reads what it says (numbers and expressions by
`expressions`, units by `units`), `comparing.same` compares; its docstring holds the conventions.
"""
