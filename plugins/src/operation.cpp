#include "operation.h"

#include "errors.h"

#include <cstdint>
#include <string>

namespace fairmot {

using nvinfer1::Dims;
using nvinfer1::DimsExprs;
using nvinfer1::PluginTensorDesc;

namespace {

constexpr int64_t kMostElements = INT32_MAX;
constexpr int64_t kBlockK = 64;  ///< columns of a packed weight per k-tile of the kernels

template <typename Sizes>
std::string text(Sizes const& sizes, size_t count) {
    std::string result;
    for (size_t i = 0; i < count; ++i) {
        result += (i == 0 ? "" : "x") + (sizes[i] < 0 ? std::string("?") : std::to_string(sizes[i]));
    }
    return result;
}

/// Sizes are 64 bits wide since TensorRT 10; sizeAt() narrows them.
void checkSizes(Operation const& operation, Dims const* inputs, int32_t count) {
    for (int32_t i = 0; i < count; ++i) {
        for (int32_t d = 0; d < inputs[i].nbDims; ++d) expectIndexable("a size", {inputs[i].d[d]});
    }
    operation.check(inputs, count);
}

}  // namespace

std::vector<OperationType> const& operationTypes() {
    static std::vector<OperationType> const types{deformConvType(),      dcnv2Type(),       fusedDeformConvType(),
                                                  deformConvBlockType(), upsampleAddType(), normalizeEmbeddingType()};
    return types;
}

void checkExpressions(Operation const& operation, DimsExprs const* inputs, int32_t count) {
    std::vector<Dims> known(static_cast<size_t>(count));
    for (int32_t i = 0; i < count; ++i) {
        known[i].nbDims = inputs[i].nbDims;
        for (int32_t d = 0; d < inputs[i].nbDims; ++d) {
            known[i].d[d] = inputs[i].d[d]->isConstant() ? inputs[i].d[d]->getConstantValue() : -1;
        }
    }
    checkSizes(operation, known.data(), count);
}

int32_t run(Operation const& operation, PluginTensorDesc const* descriptions, int32_t count, void const* const* inputs,
            void* output, void* workspace, cudaStream_t stream) {
    constexpr int32_t kMost = 8;
    Dims sizes[kMost];
    for (int32_t i = 0; i < count && i < kMost; ++i) sizes[i] = descriptions[i].dims;
    checkSizes(operation, sizes, count);
    cudaError_t const status = operation.launch(descriptions, count, inputs, output, workspace, stream);
    if (status != cudaSuccess) {
        throw PluginError(std::string("the kernel did not start: ") + cudaGetErrorString(status) + ".");
    }
    return 0;
}

int32_t sizeAt(Dims const& dims, int32_t index) noexcept {
    return index < dims.nbDims && dims.d[index] >= 0 ? static_cast<int32_t>(dims.d[index]) : -1;
}

bool is(PluginTensorDesc const& tensor, nvinfer1::DataType type, nvinfer1::TensorFormat format) noexcept {
    return tensor.type == type && tensor.format == format;
}

void expectInputs(int32_t count, int32_t fewest, int32_t most) {
    if (count >= fewest && count <= most) return;
    std::string const range = (fewest == most ? "" : std::to_string(fewest) + " to ") + std::to_string(most);
    throw PluginError("the node has " + std::to_string(count) + " inputs instead of " + range + ".");
}

void expectDims(char const* tensor, Dims const& dims, std::initializer_list<int64_t> wanted) {
    int64_t const* const begin = wanted.begin();
    auto const axes = static_cast<size_t>(dims.nbDims < 0 ? 0 : dims.nbDims);
    bool fits = axes == wanted.size();
    for (size_t i = 0; fits && i < axes; ++i) fits = dims.d[i] < 0 || begin[i] < 0 || dims.d[i] == begin[i];
    if (!fits) {
        throw PluginError(std::string(tensor) + " is " + text(dims.d, axes) + " but must be " +
                          text(begin, wanted.size()) + ".");
    }
}

void expectPacked(char const* tensor, Dims const& dims, int64_t rows, int64_t channels, int64_t taps) {
    int64_t const k_tiles = channels < 0 ? -1 : (channels * taps + kBlockK - 1) / kBlockK;
    expectDims(tensor, dims, {k_tiles, rows, kBlockK});
    expectIndexable(tensor, {k_tiles, sizeAt(dims, 1), kBlockK});
}

bool isIndexable(std::initializer_list<int64_t> sizes) noexcept {
    int64_t elements = 1;
    for (int64_t const size : sizes) {
        if (size > kMostElements) return false;
        if (size > 0) elements *= size;
        if (elements > kMostElements) return false;
    }
    return true;
}

void expectIndexable(char const* tensor, std::initializer_list<int64_t> sizes) {
    if (isIndexable(sizes)) return;
    throw PluginError(std::string(tensor) + " is " + text(sizes.begin(), sizes.size()) + " but must be below 2^31 (" +
                      std::to_string(kMostElements + 1) + ") elements, as the kernel indexes with 32 bits.");
}

}  // namespace fairmot
