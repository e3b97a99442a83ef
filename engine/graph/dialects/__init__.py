"""Deformable convolutions of older exporters: read into the standard operator `DeformConv`, and written from it."""
