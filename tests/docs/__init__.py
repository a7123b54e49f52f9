"""Tests of the pages themselves: links, tables and what they name."""
