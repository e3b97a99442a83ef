#include "operation.h"

#include "fault.h"

#include <string>

namespace fairmot {

using nvinfer1::Dims;
using nvinfer1::DimsExprs;
using nvinfer1::PluginTensorDesc;

namespace {

constexpr int64_t kStageWidth = 64;  ///< columns of a packed weight per stage of the kernels

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
    operation.check(known.data(), count);
}

int32_t run(Operation const& operation, PluginTensorDesc const* descriptions, int32_t count, void const* const* inputs,
            void* output, void* workspace, cudaStream_t stream) {
    constexpr int32_t kMost = 8;
    Dims sizes[kMost];
    for (int32_t i = 0; i < count && i < kMost; ++i) sizes[i] = descriptions[i].dims;
    operation.check(sizes, count);
    cudaError_t const status = operation.launch(descriptions, count, inputs, output, workspace, stream);
    if (status != cudaSuccess) {
        throw Fault(std::string("the kernel did not start: ") + cudaGetErrorString(status) + ".");
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
    throw Fault("the node has " + std::to_string(count) + " inputs instead of " + range + ".");
}

void expectDims(char const* tensor, Dims const& dims, std::initializer_list<int64_t> wanted) {
    auto const text = [](auto const& sizes, size_t count) {
        std::string result;
        for (size_t i = 0; i < count; ++i) {
            result += (i == 0 ? "" : "x") + (sizes[i] < 0 ? std::string("?") : std::to_string(sizes[i]));
        }
        return result;
    };
    int64_t const* const begin = wanted.begin();
    auto const axes = static_cast<size_t>(dims.nbDims < 0 ? 0 : dims.nbDims);
    bool fits = axes == wanted.size();
    for (size_t i = 0; fits && i < axes; ++i) fits = dims.d[i] < 0 || begin[i] < 0 || dims.d[i] == begin[i];
    if (!fits) {
        throw Fault(std::string(tensor) + " is " + text(dims.d, axes) + " but must be " + text(begin, wanted.size()) +
                    ".");
    }
}

void expectPacked(char const* tensor, Dims const& dims, int64_t rows, int64_t channels, int64_t taps) {
    int64_t const stages = channels < 0 ? -1 : (channels * taps + kStageWidth - 1) / kStageWidth;
    expectDims(tensor, dims, {stages, rows, kStageWidth});
}

}  // namespace fairmot
