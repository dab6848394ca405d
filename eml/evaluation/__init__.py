"""Models on retrieval sets: metrics, comparisons, slices and calibration."""
