// The operations as IPluginV2DynamicExt, for TensorRT 8.6.
#include <NvInferRuntime.h>

#if NV_TENSORRT_MAJOR < 10

#include "creators.h"
#include "errors.h"
#include "operation.h"

#include <cstring>
#include <memory>
#include <string>
#include <utility>

namespace fairmot {
namespace {

using namespace nvinfer1;

class Plugin final : public IPluginV2DynamicExt {
  public:
    Plugin(OperationType const& type, std::unique_ptr<Operation> operation, std::string space, int32_t inputs)
        : type_(type), operation_(std::move(operation)), namespace_(std::move(space)), inputs_(inputs) {}

    char const* getPluginType() const noexcept override { return type_.name; }
    char const* getPluginVersion() const noexcept override { return kPluginVersion; }
    char const* getPluginNamespace() const noexcept override { return namespace_.c_str(); }
    int32_t getNbOutputs() const noexcept override { return 1; }
    int32_t initialize() noexcept override { return 0; }
    void terminate() noexcept override {}
    void destroy() noexcept override { delete this; }

    void setPluginNamespace(char const* space) noexcept override {
        guarded(type_.name, 0, [&] {
            namespace_ = space != nullptr ? space : "";
            return 0;
        });
    }

    IPluginV2DynamicExt* clone() const noexcept override {
        return guarded(type_.name, static_cast<Plugin*>(nullptr),
                       [&] { return new Plugin(type_, operation_->clone(), namespace_, inputs_); });
    }

    size_t getSerializationSize() const noexcept override {
        return sizeof(inputs_) + operation_->attributes().byteCount();
    }

    void serialize(void* buffer) const noexcept override {
        std::memcpy(buffer, &inputs_, sizeof(inputs_));
        operation_->attributes().write(static_cast<char*>(buffer) + sizeof(inputs_));
    }

    DataType getOutputDataType(int32_t, DataType const* inputs, int32_t) const noexcept override {
        return operation_->outputType(inputs);
    }

    DimsExprs getOutputDimensions(int32_t, DimsExprs const* inputs, int32_t count,
                                  IExprBuilder& build) noexcept override {
        DimsExprs failure{};
        failure.nbDims = -1;
        return guarded(type_.name, failure, [&] {
            checkExpressions(*operation_, inputs, count);
            return operation_->outputDims(inputs, build);
        });
    }

    bool supportsFormatCombination(int32_t position, PluginTensorDesc const* tensors, int32_t inputs,
                                   int32_t) noexcept override {
        return guarded(type_.name, false, [&] { return operation_->supports(position, tensors, inputs); });
    }

    void configurePlugin(DynamicPluginTensorDesc const*, int32_t count, DynamicPluginTensorDesc const*,
                         int32_t) noexcept override {
        inputs_ = count;
    }

    size_t getWorkspaceSize(PluginTensorDesc const* inputs, int32_t count, PluginTensorDesc const*,
                            int32_t) const noexcept override {
        return guarded(type_.name, size_t{0}, [&] { return operation_->workspace(inputs, count); });
    }

    int32_t enqueue(PluginTensorDesc const* inputs, PluginTensorDesc const*, void const* const* addresses,
                    void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
        return guarded(type_.name, 1,
                       [&] { return run(*operation_, inputs, inputs_, addresses, outputs[0], workspace, stream); });
    }

  private:
    OperationType const& type_;
    std::unique_ptr<Operation> operation_;
    std::string namespace_;
    int32_t inputs_;  ///< their number, which enqueue() does not receive
};

class Creator final : public IPluginCreator {
  public:
    explicit Creator(OperationType const& type) : type_(type), names_(fieldNames(type.attributes)) {
        collection_ = {static_cast<int32_t>(names_.size()), names_.data()};
    }

    char const* getPluginName() const noexcept override { return type_.name; }
    char const* getPluginVersion() const noexcept override { return kPluginVersion; }
    char const* getPluginNamespace() const noexcept override { return namespace_.c_str(); }
    PluginFieldCollection const* getFieldNames() noexcept override { return &collection_; }

    void setPluginNamespace(char const* space) noexcept override {
        guarded(type_.name, 0, [&] {
            namespace_ = space != nullptr ? space : "";
            return 0;
        });
    }

    IPluginV2DynamicExt* createPlugin(char const*, PluginFieldCollection const* fields) noexcept override {
        return guarded(type_.name, static_cast<Plugin*>(nullptr), [&] {
            return new Plugin(type_, type_.make(Attributes::parse(type_.attributes, fields)), namespace_, 0);
        });
    }

    IPluginV2DynamicExt* deserializePlugin(char const*, void const* data, size_t length) noexcept override {
        return guarded(type_.name, static_cast<Plugin*>(nullptr), [&] {
            int32_t inputs = 0;
            if (data == nullptr || length < sizeof(inputs)) throw PluginError("the plan holds no attributes.");
            std::memcpy(&inputs, data, sizeof(inputs));
            void const* const rest = static_cast<char const*>(data) + sizeof(inputs);
            auto attributes = Attributes::read(type_.attributes, rest, length - sizeof(inputs));
            return new Plugin(type_, type_.make(std::move(attributes)), namespace_, inputs);
        });
    }

  private:
    OperationType const& type_;
    std::vector<PluginField> names_;
    PluginFieldCollection collection_{};
    std::string namespace_;
};

}  // namespace

std::vector<CreatorInterface*> const& creators() { return creatorsOf<Creator>(); }

}  // namespace fairmot

#endif
