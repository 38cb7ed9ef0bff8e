"""A package, so that a system test may have the name of the unit test beside it."""
