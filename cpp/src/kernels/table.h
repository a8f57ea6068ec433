// The table of a kernel set, from the functions of the file that includes this last in its anonymous namespace.

constexpr Kernels table_named(const char* name) {
    return {
        name,
        all_pairs<Dot, float>,
        all_pairs<SquaredL2, float>,
        gather<Dot, float>,
        gather<SquaredL2, float>,
        all_pairs<Dot, Half>,
        all_pairs<SquaredL2, Half>,
        gather<Dot, Half>,
        gather<SquaredL2, Half>,
        to_half,
        hamming_gather,
        pack_signs,
        group_codes,
        collect_below,
        count_distances,
        grouped_distances,
        hadamard,
        residual_tables,
        residual_estimates,
        collect_up_to,
        split_keys,
    };
}
