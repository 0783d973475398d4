"""HEVC headers: parameter sets under other ids, slices that point at them, and the decoder configuration (hvcC) that holds them."""
