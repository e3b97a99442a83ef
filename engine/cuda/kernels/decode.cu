// From the network's heads to a fixed number of detections, in three launches per batch: collect the
// candidates, rank them, gather boxes, embeddings and landmarks of the best. Equal to engine/decode.py, ties included.
//
// A candidate is one 64-bit key: the bits of its score inverted, then its cell and class. Rising keys
// are falling scores and, among equal scores, rising cells and then classes; no two keys are equal, so
// the result does not depend on the order in which threads arrive.
//
// No headers, so that NVRTC compiles it anywhere; compiled without fused multiply-add, so that sums
// round as NumPy's do.

typedef unsigned long long Key;

static constexpr Key kNone = ~0ull;
static constexpr int kSharedKeys = 4096;  // as many are sorted in shared memory: 32 KiB
static constexpr int kDigitBits = 11;
static constexpr int kBins = 1 << kDigitBits;
static constexpr int kRankThreads = 1024;

// The heatmap and the criterion of a candidate. `raw`: logits, without peak suppression.
struct Heatmap {
    int classes, rows, columns;
    float threshold;  // at least 0
    int raw;
};

static __device__ __forceinline__ float sigmoid(float logit) { return 1.f / (1.f + expf(-logit)); }

// Whether a score is the greatest of its 3x3 neighborhood; equal neighbors are all peaks.
static __device__ bool isPeak(float const* plane, int cell, float score, Heatmap const& heatmap) {
    int const row = cell / heatmap.columns;
    int const column = cell - row * heatmap.columns;
    for (int y = max(row - 1, 0); y <= min(row + 1, heatmap.rows - 1); ++y) {
        for (int x = max(column - 1, 0); x <= min(column + 1, heatmap.columns - 1); ++x) {
            if (sigmoid(plane[y * heatmap.columns + x]) > score) return false;
        }
    }
    return true;
}

// The key of element `index` of one image's heatmap, kNone if it is no candidate.
static __device__ __forceinline__ Key keyOf(float const* image, int index, float value, Heatmap const& heatmap) {
    float const score = heatmap.raw ? sigmoid(value) : value;
    if (!(score > heatmap.threshold)) return kNone;
    int const cells = heatmap.rows * heatmap.columns;
    int const class_id = index / cells;
    int const cell = index - class_id * cells;
    if (heatmap.raw && !isPeak(image + class_id * cells, cell, score, heatmap)) return kNone;
    return static_cast<Key>(~__float_as_uint(score)) << 32 | static_cast<unsigned>(cell * heatmap.classes + class_id);
}

static __device__ __forceinline__ void append(Key key, Key* candidates, unsigned* count, int capacity) {
    if (key == kNone) return;
    unsigned const position = atomicAdd(count, 1u);
    if (position < static_cast<unsigned>(capacity)) candidates[position] = key;
}

// Grid: any number of blocks by images. Counts every candidate and keeps the first `capacity` that arrive.
// counts: (images,), all 0 before; candidates: (images, capacity).
extern "C" __global__ void __launch_bounds__(256)
    decode_collect(float const* values, Key* candidates, unsigned* counts, Heatmap heatmap, int capacity) {
    int const size = heatmap.classes * heatmap.rows * heatmap.columns;
    float const* image = values + static_cast<size_t>(blockIdx.y) * size;
    unsigned* count = counts + blockIdx.y;
    candidates += static_cast<size_t>(blockIdx.y) * capacity;
    int const first = blockIdx.x * blockDim.x + threadIdx.x;
    int const step = gridDim.x * blockDim.x;
    int const vectors = reinterpret_cast<size_t>(image) % sizeof(float4) == 0 ? size / 4 : 0;
    for (int i = first; i < vectors; i += step) {
        float4 const four = __ldg(reinterpret_cast<float4 const*>(image) + i);
        append(keyOf(image, 4 * i, four.x, heatmap), candidates, count, capacity);
        append(keyOf(image, 4 * i + 1, four.y, heatmap), candidates, count, capacity);
        append(keyOf(image, 4 * i + 2, four.z, heatmap), candidates, count, capacity);
        append(keyOf(image, 4 * i + 3, four.w, heatmap), candidates, count, capacity);
    }
    for (int i = 4 * vectors + first; i < size; i += step) {
        append(keyOf(image, i, image[i], heatmap), candidates, count, capacity);
    }
}

// Bitonic network; `size` is a power of two. Called by the whole block.
static __device__ void sortKeys(Key* keys, int size) {
    for (int span = 2; span <= size; span *= 2) {
        for (int distance = span / 2; distance > 0; distance /= 2) {
            for (int i = threadIdx.x; i < size / 2; i += blockDim.x) {
                int const low = i / distance * distance * 2 + i % distance;
                int const high = low + distance;
                Key const a = keys[low];
                Key const b = keys[high];
                if ((a > b) == ((low & span) == 0)) {
                    keys[low] = b;
                    keys[high] = a;
                }
            }
            __syncthreads();
        }
    }
}

// Finds the bin that holds the key number `wanted` (from 1). bin[0] is its number, bin[1] how many keys
// the bins before it hold. Called by one warp.
static __device__ void findBin(unsigned const* histogram, unsigned wanted, unsigned* bin) {
    int const lane = threadIdx.x;
    int const share = kBins / 32;
    unsigned own = 0;
    for (int i = 0; i < share; ++i) own += histogram[lane * share + i];
    unsigned upto = own;
    for (int delta = 1; delta < 32; delta *= 2) {
        unsigned const before = __shfl_up_sync(0xffffffffu, upto, delta);
        if (lane >= delta) upto += before;
    }
    unsigned before = upto - own;
    if (before < wanted && wanted <= upto) {
        int i = lane * share;
        while (before + histogram[i] < wanted) before += histogram[i++];
        bin[0] = i;
        bin[1] = before;
    }
}

// Radix selection for more candidates than `capacity`: reads the heatmap again, digit by digit from the
// top, until those up to the `limit`-th key's digits fit into `keys`. Returns their number, at least
// `limit`; they include the `limit` lowest keys. Called by the whole block.
static __device__ int selectLowest(float const* image, Heatmap const& heatmap, int limit, Key* keys, int capacity,
                                   unsigned* histogram) {
    __shared__ unsigned bin[2];
    __shared__ unsigned found;
    int const size = heatmap.classes * heatmap.rows * heatmap.columns;
    unsigned before = 0;  // keys below the prefix
    Key prefix = 0;       // the digits so far of the limit-th key
    int shift = 64;
    unsigned together;  // keys up to and with the prefix
    do {
        int const bits = min(kDigitBits, shift);
        for (int i = threadIdx.x; i < kBins; i += blockDim.x) histogram[i] = 0;
        __syncthreads();
        for (int i = threadIdx.x; i < size; i += blockDim.x) {
            Key const key = keyOf(image, i, __ldg(image + i), heatmap);
            if (key != kNone && (shift == 64 || key >> shift == prefix)) {
                atomicAdd(&histogram[key >> (shift - bits) & ((1 << bits) - 1)], 1u);
            }
        }
        __syncthreads();
        if (threadIdx.x < 32) findBin(histogram, limit - before, bin);
        __syncthreads();
        shift -= bits;
        prefix = prefix << bits | bin[0];
        before += bin[1];
        together = before + histogram[bin[0]];
        __syncthreads();
    } while (together > static_cast<unsigned>(capacity));  // ends: keys are unique and limit <= capacity

    if (threadIdx.x == 0) found = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        Key const key = keyOf(image, i, __ldg(image + i), heatmap);
        if (key != kNone && key >> shift <= prefix) keys[atomicAdd(&found, 1u)] = key;
    }
    __syncthreads();
    return together;
}

// Grid: images. Orders the candidates and keeps the best `limit`; sets the counts back to 0 for the next run.
// capacity: a power of two, at least `limit`. ranked: (images, limit); kept: (images,).
extern "C" __global__ void __launch_bounds__(kRankThreads)
    decode_rank(float const* values, Key* candidates, unsigned* counts, Key* ranked, int* kept, Heatmap heatmap,
                int capacity, int limit) {
    __shared__ Key shared_keys[kSharedKeys];
    __shared__ unsigned histogram[kBins];
    int const image = blockIdx.x;
    candidates += static_cast<size_t>(image) * capacity;
    Key* keys = capacity <= kSharedKeys ? shared_keys : candidates;
    unsigned const total = counts[image];
    __syncthreads();
    if (threadIdx.x == 0) counts[image] = 0;

    int found;
    if (total <= static_cast<unsigned>(capacity)) {
        found = total;
        if (keys != candidates) {
            for (int i = threadIdx.x; i < found; i += blockDim.x) keys[i] = candidates[i];
        }
    } else {
        size_t const size = static_cast<size_t>(heatmap.classes) * heatmap.rows * heatmap.columns;
        found = selectLowest(values + image * size, heatmap, limit, keys, capacity, histogram);
    }
    int padded = 1;
    while (padded < found) padded *= 2;
    for (int i = found + threadIdx.x; i < padded; i += blockDim.x) keys[i] = kNone;
    __syncthreads();
    sortKeys(keys, padded);

    int const best = min(found, limit);
    for (int i = threadIdx.x; i < best; i += blockDim.x) ranked[static_cast<size_t>(image) * limit + i] = keys[i];
    if (threadIdx.x == 0) kept[image] = best;
}

// Inputs of the gather; embedding and landmarks are null for a model without.
// transforms: (images, 4), scale and shift from cells to source pixels: x, y, x, y.
struct Heads {
    float const* box;
    float const* offset;
    float const* embedding;
    float const* landmarks;
    double const* transforms;
};

// Its outputs, for `slots` detections per image; those beyond the kept ones are 0.
struct Detections {
    float* tlbr;
    float* scores;
    int* class_ids;
    float* embeddings;
    float* landmarks;
};

// Grid: groups of slots by images; one warp per slot.
// boxes: of a cell, 1 for all classes or `classes`; points: landmarks of a detection; limit: row length of `ranked`.
extern "C" __global__ void __launch_bounds__(256)
    decode_gather(Key const* ranked, int const* kept, Heads heads, Detections out, int classes, int rows, int columns,
                  int boxes, int embedding_size, int points, int normalize, int limit, int slots) {
    int const lane = threadIdx.x % 32;
    int const slot = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (slot >= slots) return;
    size_t const image = blockIdx.y;
    size_t const row_out = image * slots + slot;
    float* const tlbr = out.tlbr + row_out * 4;
    float* const embedding = out.embeddings + row_out * embedding_size;
    float* const landmarks = out.landmarks + row_out * 2 * points;
    if (slot >= kept[image]) {
        if (lane < 4) tlbr[lane] = 0.f;
        if (lane == 0) out.scores[row_out] = 0.f;
        if (lane == 0) out.class_ids[row_out] = 0;
        for (int i = lane; i < embedding_size; i += 32) embedding[i] = 0.f;
        for (int i = lane; i < 2 * points; i += 32) landmarks[i] = 0.f;
        return;
    }
    Key const key = ranked[image * limit + slot];
    int const index = static_cast<int>(key & 0xffffffffu);
    int const cell = index / classes;
    int const class_id = index - cell * classes;
    size_t const cells = static_cast<size_t>(rows) * columns;
    if (lane < 4 || points > 0) {
        int const axis = lane % 2;
        float const position = static_cast<float>(axis == 0 ? cell % columns : cell / columns);
        float const center = position + heads.offset[(image * 2 + axis) * cells + cell];
        double const* transform = heads.transforms + image * 4 + axis;
        if (lane < 4) {
            size_t const box = image * boxes + (boxes > 1 ? class_id : 0);
            float const distance = heads.box[(box * 4 + lane) * cells + cell];
            double const edge = lane < 2 ? center - distance : center + distance;
            tlbr[lane] = static_cast<float>(edge * transform[0] + transform[2]);
        }
        for (int i = lane; i < 2 * points; i += 32) {  // 32 is even, so a lane's values are all of its axis
            double const coordinate = center + heads.landmarks[(image * 2 * points + i) * cells + cell];
            landmarks[i] = static_cast<float>(coordinate * transform[0] + transform[2]);
        }
    }
    if (lane == 0) out.scores[row_out] = __uint_as_float(~static_cast<unsigned>(key >> 32));
    if (lane == 0) out.class_ids[row_out] = class_id;

    float const* vector = heads.embedding + image * embedding_size * cells + cell;
    float length = 1.f;
    if (normalize) {
        float squares = 0.f;
        for (int i = lane; i < embedding_size; i += 32) squares += vector[i * cells] * vector[i * cells];
        for (int distance = 16; distance > 0; distance /= 2) squares += __shfl_xor_sync(0xffffffffu, squares, distance);
        length = fmaxf(sqrtf(squares), 1e-12f);
    }
    for (int i = lane; i < embedding_size; i += 32) embedding[i] = vector[i * cells] / length;
}
