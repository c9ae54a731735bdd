"""Tests of the metanets."""
