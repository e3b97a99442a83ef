// The operations as IPluginV3, for TensorRT 10 and later.
#include <NvInferRuntime.h>

#if NV_TENSORRT_MAJOR >= 10

#include "creators.h"
#include "errors.h"
#include "operation.h"

#include <memory>
#include <string>
#include <utility>

#define FAIRMOT_STRING(number) #number
#define FAIRMOT_TEXT(number) FAIRMOT_STRING(number)

namespace fairmot {
namespace {

using namespace nvinfer1;

class Plugin final : public IPluginV3, public IPluginV3OneCore, public IPluginV3OneBuild, public IPluginV3OneRuntime {
  public:
    Plugin(OperationType const& type, std::unique_ptr<Operation> operation)
        : type_(type), operation_(std::move(operation)), fields_(operation_->attributes().fields()) {
        collection_ = {static_cast<int32_t>(fields_.size()), fields_.data()};
        timing_key_ = std::string(type_.name) + " " + FAIRMOT_TEXT(FAIRMOT_PLUGINS_VERSION);
        for (PluginField const& field : fields_) {
            timing_key_ += std::string(" ") + field.name;
            for (int32_t i = 0; i < field.length; ++i) {
                timing_key_ += " " + std::to_string(static_cast<int32_t const*>(field.data)[i]);
            }
        }
    }

    IPluginCapability* getCapabilityInterface(PluginCapabilityType capability) noexcept override {
        switch (capability) {
            case PluginCapabilityType::kCORE:
                return static_cast<IPluginV3OneCore*>(this);
            case PluginCapabilityType::kBUILD:
                return static_cast<IPluginV3OneBuild*>(this);
            case PluginCapabilityType::kRUNTIME:
                return static_cast<IPluginV3OneRuntime*>(this);
        }
        return nullptr;
    }

    IPluginV3* clone() noexcept override {
        return guarded(type_.name, static_cast<Plugin*>(nullptr),
                       [&] { return new Plugin(type_, operation_->clone()); });
    }

    char const* getPluginName() const noexcept override { return type_.name; }
    char const* getPluginVersion() const noexcept override { return kPluginVersion; }
    char const* getPluginNamespace() const noexcept override { return ""; }

    int32_t getNbOutputs() const noexcept override { return 1; }
    char const* getTimingCacheID() noexcept override { return timing_key_.c_str(); }
    char const* getMetadataString() noexcept override { return timing_key_.c_str(); }

    int32_t configurePlugin(DynamicPluginTensorDesc const*, int32_t, DynamicPluginTensorDesc const*,
                            int32_t) noexcept override {
        return 0;
    }

    int32_t getOutputDataTypes(DataType* outputs, int32_t, DataType const* inputs, int32_t) const noexcept override {
        outputs[0] = operation_->outputType(inputs);
        return 0;
    }

    int32_t getOutputShapes(DimsExprs const* inputs, int32_t count, DimsExprs const*, int32_t, DimsExprs* outputs,
                            int32_t, IExprBuilder& build) noexcept override {
        return guarded(type_.name, 1, [&] {
            checkExpressions(*operation_, inputs, count);
            outputs[0] = operation_->outputDims(inputs, build);
            return 0;
        });
    }

    bool supportsFormatCombination(int32_t position, DynamicPluginTensorDesc const* tensors, int32_t inputs,
                                   int32_t) noexcept override {
        return guarded(type_.name, false, [&] {
            std::vector<PluginTensorDesc> described(static_cast<size_t>(position) + 1);
            for (int32_t i = 0; i <= position; ++i) described[i] = tensors[i].desc;
            return operation_->supports(position, described.data(), inputs);
        });
    }

    size_t getWorkspaceSize(DynamicPluginTensorDesc const* inputs, int32_t count, DynamicPluginTensorDesc const*,
                            int32_t) const noexcept override {
        return guarded(type_.name, size_t{0}, [&] {
            std::vector<PluginTensorDesc> largest(static_cast<size_t>(count));
            for (int32_t i = 0; i < count; ++i) {
                largest[i] = inputs[i].desc;
                largest[i].dims = inputs[i].max;
            }
            return operation_->workspace(largest.data(), count);
        });
    }

    int32_t onShapeChange(PluginTensorDesc const*, int32_t count, PluginTensorDesc const*, int32_t) noexcept override {
        inputs_ = count;
        return 0;
    }

    int32_t enqueue(PluginTensorDesc const* inputs, PluginTensorDesc const*, void const* const* addresses,
                    void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
        return guarded(type_.name, 1,
                       [&] { return run(*operation_, inputs, inputs_, addresses, outputs[0], workspace, stream); });
    }

    IPluginV3* attachToContext(IPluginResourceContext*) noexcept override { return clone(); }

    PluginFieldCollection const* getFieldsToSerialize() noexcept override { return &collection_; }

  private:
    OperationType const& type_;
    std::unique_ptr<Operation> operation_;
    std::vector<PluginField> fields_;  ///< point into operation_
    PluginFieldCollection collection_{};
    std::string timing_key_;
    int32_t inputs_ = 0;  ///< their number, which enqueue() does not receive
};

class Creator final : public IPluginCreatorV3One {
  public:
    explicit Creator(OperationType const& type) : type_(type), names_(fieldNames(type.attributes)) {
        collection_ = {static_cast<int32_t>(names_.size()), names_.data()};
    }

    char const* getPluginName() const noexcept override { return type_.name; }
    char const* getPluginVersion() const noexcept override { return kPluginVersion; }
    char const* getPluginNamespace() const noexcept override { return ""; }
    PluginFieldCollection const* getFieldNames() noexcept override { return &collection_; }

    IPluginV3* createPlugin(char const*, PluginFieldCollection const* fields, TensorRTPhase) noexcept override {
        return guarded(type_.name, static_cast<Plugin*>(nullptr),
                       [&] { return new Plugin(type_, type_.make(Attributes::parse(type_.attributes, fields))); });
    }

  private:
    OperationType const& type_;
    std::vector<PluginField> names_;
    PluginFieldCollection collection_{};
};

}  // namespace

std::vector<CreatorInterface*> const& creators() { return creatorsOf<Creator>(); }

}  // namespace fairmot

#endif
