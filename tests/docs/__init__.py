"""Tests of the documentation: blocks, links, tables, and the names that pages mention."""
