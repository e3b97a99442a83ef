// The interface of the library's operations, independent of the plugin interface that TensorRT uses.
#pragma once

#include "attributes.h"

#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>

#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

namespace fairmot {

/// One operation with one output. Objects do not change after they are made, so all members may run in parallel.
/// Members throw PluginError where the tensors do not fit.
class Operation {
  public:
    explicit Operation(Attributes attributes) : attributes_(std::move(attributes)) {}
    virtual ~Operation() = default;
    Operation& operator=(Operation const&) = delete;

    virtual std::unique_ptr<Operation> clone() const = 0;

    Attributes const& attributes() const noexcept { return attributes_; }

    /// Checks the inputs' sizes as far as they are known (an unknown one is -1).
    virtual void check(nvinfer1::Dims const* inputs, int32_t count) const = 0;

    virtual nvinfer1::DimsExprs outputDims(nvinfer1::DimsExprs const* inputs, nvinfer1::IExprBuilder& build) const = 0;

    virtual nvinfer1::DataType outputType(nvinfer1::DataType const* inputs) const = 0;

    /// Whether the tensor at `position` (inputs, then the output) may have its type and format, given those before it.
    virtual bool supports(int32_t position, nvinfer1::PluginTensorDesc const* tensors, int32_t inputs) const = 0;

    /// Bytes of scratch memory for inputs of at most these sizes.
    virtual size_t workspace(nvinfer1::PluginTensorDesc const* inputs, int32_t count) const = 0;

    /// Starts the work on the stream; the inputs have passed check().
    virtual cudaError_t launch(nvinfer1::PluginTensorDesc const* descriptions, int32_t count, void const* const* inputs,
                               void* output, void* workspace, cudaStream_t stream) const = 0;

  protected:
    Operation(Operation const&) = default;

  private:
    Attributes attributes_;
};

/// An operation by its name in ONNX.
struct OperationType {
    char const* name;
    AttributeTable attributes;
    std::unique_ptr<Operation> (*make)(Attributes attributes);
};

/// The version that every plugin of the library is registered with.
constexpr char const* kPluginVersion = "1";

/// All operations; the list lives as long as the library.
std::vector<OperationType> const& operationTypes();

/// OperationType::make of an operation that is made from its attributes.
template <typename Type>
std::unique_ptr<Operation> make(Attributes attributes) {
    return std::make_unique<Type>(std::move(attributes));
}

// Made by deform_operation.cpp, deform_block_operation.cpp and embedding_operations.cpp for operationTypes().
OperationType deformConvType();
OperationType dcnv2Type();
OperationType fusedDeformConvType();
OperationType deformConvBlockType();
OperationType upsampleAddType();
OperationType normalizeEmbeddingType();

/// operation.check() on expressions: those that are constant by now. No size may exceed 32 bits.
void checkExpressions(Operation const& operation, nvinfer1::DimsExprs const* inputs, int32_t count);

/// operation.check(), with no size beyond 32 bits, and launch() on described tensors. Returns 0; throws PluginError.
int32_t run(Operation const& operation, nvinfer1::PluginTensorDesc const* descriptions, int32_t count,
            void const* const* inputs, void* output, void* workspace, cudaStream_t stream);

/// Size `index` of a tensor, -1 if unknown.
int32_t sizeAt(nvinfer1::Dims const& dims, int32_t index) noexcept;

/// Whether a tensor has this type and this format.
bool is(nvinfer1::PluginTensorDesc const& tensor, nvinfer1::DataType type, nvinfer1::TensorFormat format) noexcept;

/// Throws PluginError unless the node has `fewest` to `most` inputs.
void expectInputs(int32_t count, int32_t fewest, int32_t most);

/// Throws PluginError unless `dims` has the given number of axes and each size is as wanted; -1 on either side fits
/// all.
void expectDims(char const* tensor, nvinfer1::Dims const& dims, std::initializer_list<int64_t> wanted);

/// expectDims() for the weight of a convolution from `channels` to `rows`, packed as plugins/src/deform_conv.h says,
/// and expectIndexable().
void expectPacked(char const* tensor, nvinfer1::Dims const& dims, int64_t rows, int64_t channels, int64_t taps);

/// Whether 32 bits index these sizes, of which unknown ones (-1) count as 1: below 2^31 elements, hence below 4 GiB of
/// halves, whose bytes the channels-last kernels address by unsigned offsets.
bool isIndexable(std::initializer_list<int64_t> sizes) noexcept;

/// Throws PluginError unless isIndexable().
void expectIndexable(char const* tensor, std::initializer_list<int64_t> sizes);

}  // namespace fairmot
