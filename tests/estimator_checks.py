"""Which of scikit-learn's checks of estimators fail on purpose, and why."""

_SPARSE = "sparse matrices raise TypeError, as objects; the message does not call them sparse"
_OWN_WORDS = "refused as it should be; lshcore's message has its own form"
EXPECTED_FAILURES = {
    "check_n_features_in_after_fitting": _OWN_WORDS,
    "check_estimators_empty_data_messages": _OWN_WORDS,
    "check_estimators_nan_inf": "refused as it should be; the message names the entry, not only 'NaN' or 'infinity'",
    "check_fit2d_predict1d": _OWN_WORDS,
    "check_complex_data": "complex numbers raise TypeError, not ValueError: the dtype is wrong, not a value",
    "check_dtype_object": "objects raise TypeError, even where they are all numbers: nothing is cast in silence",
    "check_estimator_sparse_tag": _SPARSE,
    "check_estimator_sparse_array": _SPARSE,
    "check_estimator_sparse_matrix": _SPARSE,
}
