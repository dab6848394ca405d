"""The probability that an answer by classes is right, and "unknown": fitted, applied, and checked.

`sample_open_set` and `sample_gallery` make queries whose truth is known, `fit_answers` fits an `AnswerCalibration` to
them, `measure_drift` compares later answers with those at calibration.
"""
