"""
The widths of the columns of the resolution matrix, in CUDA C++.

They are the dearest output: m^2 n operations. Single precision is at least twice as fast, and a bound of its rounding
tells where it might change an answer: there, the column is made again in double precision. So the answer is that of
double precision.
"""

__all__ = ["COLUMNS"]

#: A class ``Columns``, for the constants N_CHANNELS, N_BINS and N_SAMPLES.
COLUMNS = """
// Of a column: the first and the last sample above a level, and whether both are so by as much as is asked for.
struct Ends {
    int first, last;
    bool is_certain;
};

struct Columns {
    const double *response, *fraction;
    const float *response_single;
    const int *left, *first_sample, *last_sample;
    const double *weight;
    double *scratch;
    // Relative to the largest weight and response, single precision has the range.
    float *weight_single;
    double factor;
    float bounds[N_CHANNELS];  // the largest terms v K_i, over the bins

    __device__ __forceinline__ Columns(const double *response, double largest_response, const double *fraction,
                       const float *response_single, const int *whole, const double *weight, double *scratch,
                       float *weight_single)
        : response(response), fraction(fraction), response_single(response_single), left(whole),
          first_sample(whole + N_SAMPLES), last_sample(whole + N_SAMPLES + N_BINS), weight(weight), scratch(scratch),
          weight_single(weight_single)
    {
        double largest = 0.0;
#pragma unroll 1
        for (int j = 0; j < N_BINS; ++j) largest = weight[j] > largest ? weight[j] : largest;
        factor = largest * largest_response;
#pragma unroll
        for (int i = 0; i < N_CHANNELS; ++i) bounds[i] = 0.0f;
#pragma unroll 1
        for (int j = 0; j < N_BINS; ++j) {
            const float v = (float)(weight[j] / largest);
            weight_single[j] = v;
#pragma unroll
            for (int i = 0; i < N_CHANNELS; ++i) bounds[i] = fmaxf(bounds[i], v * response_single[j * N_CHANNELS + i]);
        }
    }

    // The numbers of the samples where the column of h is first and last at least half its maximum.
    __device__ __forceinline__ void find(const double (&h)[N_CHANNELS], double &first, double &last) const
    {
        float h_single[N_CHANNELS], bound = 0.0f;
#pragma unroll
        for (int i = 0; i < N_CHANNELS; ++i) {
            h_single[i] = (float)(h[i] * factor);
            bound += bounds[i] * fabsf(h_single[i]);
        }
        // Of the terms and the sum of n products, the weight, the line between two bins, and half the maximum.
        const float tolerance = bound * ((N_CHANNELS + 12) * 5.9604645e-8f);
        float *const column = (float *)scratch;
        const float largest = fill(response_single, weight_single, h_single, column);
        Ends ends = find_ends(column, 0.5f * largest - tolerance, 0.5f * largest + tolerance);
        if (!(ends.is_certain && largest > 1e-30f)) {  // there, single precision nears the end of its range
            const double half = 0.5 * fill(response, weight, h, scratch);
            ends = find_ends(scratch, half, half);
        }
        first = ends.first;
        last = ends.last;
    }

    // Make a column: its largest element.
    template <class Real>
    __device__ __forceinline__ static Real fill(const Real *response, const Real *weight,
                                                const Real (&h)[N_CHANNELS], Real *column)
    {
        Real largest = -INFINITE;
#pragma unroll 4
        for (int j = 0; j < N_BINS; ++j) {
            Real value = response[j * N_CHANNELS] * h[0];
#pragma unroll
            for (int i = 1; i < N_CHANNELS; ++i) value += response[j * N_CHANNELS + i] * h[i];
            value *= weight[j];
            column[j] = value;
            largest = value > largest ? value : largest;
        }
        return largest;
    }

    template <class Real>
    __device__ __forceinline__ Ends find_ends(const Real *column, Real level, Real certainly) const
    {
        Ends ends = {N_SAMPLES, -1, false};
        int a = 0, b = N_BINS - 1;
#pragma unroll 1
        while (a < N_BINS - 1 && column[a] < level) ++a;
#pragma unroll 1
        while (b > 0 && column[b] < level) --b;
        Real first = -INFINITE, last = -INFINITE;
#pragma unroll 1
        for (int s = first_sample[a]; s < N_SAMPLES; ++s) {
            first = at(column, s);
            if (first >= level) { ends.first = s; break; }
        }
#pragma unroll 1
        for (int s = last_sample[b]; s >= 0; --s) {
            last = at(column, s);
            if (last >= level) { ends.last = s; break; }
        }
        ends.is_certain = first >= certainly && last >= certainly;
        return ends;
    }

    // The column at a sample, on the line between two bins.
    template <class Real> __device__ __forceinline__ Real at(const Real *column, int sample) const
    {
        const Real lower = column[left[sample]], upper = column[left[sample] + 1];
        return lower + (Real)fraction[sample] * (upper - lower);
    }
};
"""
