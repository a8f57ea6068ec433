#include "arrays.h"
#include "lshcore/codes.h"
#include "lshcore/random.h"

namespace lshcore::python {

void bind_codes(py::module_& m) {
    m.def(
        "pack_bools",
        [](const Array<bool>& bits) {
            const auto view = matrix(bits, "bits");
            check_n_bits(static_cast<int>(view.cols));
            auto words = new_matrix<Word>(view.rows, words_for(static_cast<int>(view.cols)));
            pack_bools(view, words.mutable_data());
            return words;
        },
        "bits"_a.noconvert());
    m.def(
        "unpack_bools",
        [](const Array<Word>& words, int n_bits) {
            const auto view = matrix(words, "words");
            check_padding(view, n_bits);
            auto bits = new_matrix<bool>(view.rows, n_bits);
            unpack_bools(view, n_bits, bits.mutable_data());
            return bits;
        },
        "words"_a.noconvert(), "n_bits"_a);
    m.def(
        "pack_signs",
        [](const Array<float>& margins) {
            const auto view = matrix(margins, "margins");
            check_n_bits(static_cast<int>(view.cols));
            auto words = new_matrix<Word>(view.rows, words_for(static_cast<int>(view.cols)));
            pack_signs(view, words.mutable_data());
            return words;
        },
        "margins"_a.noconvert());
    m.def(
        "check_padding", [](const Array<Word>& words, int n_bits) { check_padding(matrix(words, "words"), n_bits); },
        "words"_a.noconvert(), "n_bits"_a);
    m.def(
        "gaussian",
        [](std::uint64_t seed, std::int64_t rows, std::int64_t cols) {
            if (rows < 0 || cols < 0) throw py::value_error("gaussian: expected a shape without negative numbers");
            Random random(seed);
            auto out = new_matrix<float>(rows, cols);
            float* data = out.mutable_data();
            for (std::int64_t i = 0; i < rows * cols; ++i) data[i] = static_cast<float>(random.gaussian());
            return out;
        },
        "seed"_a, "rows"_a, "cols"_a);
}

}  // namespace lshcore::python
