"""A package, so that a system test can have the same name as a unit test."""
