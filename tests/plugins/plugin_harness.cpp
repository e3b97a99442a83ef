// Stands in for TensorRT for a plugin library without TensorRT or a GPU: makes plugins, asks them, saves and loads
// them.
//
//   plugin_harness LIBRARY dims OPERATION name=1,2 ... -- 2x16x13x17 16x16x3x3 ...
//   plugin_harness LIBRARY formats OPERATION name=1,2 ... -- 2x16x13x17 16x16x3x3 ...
//   plugin_harness LIBRARY enqueue OPERATION name=1,2 ... -- 2x16x13x17 16x16x3x3 ...
//
// A size like ?2 is not known when the engine is built and 2 later. `dims` prints the output's sizes and its type for
// inputs of float32 and of half; `formats` every accepted combination of f (float32) or h (half), and L (linear) or
// 8 (kHWC8), inputs first. `enqueue` prints what it returns for tensors of half, x and the output kHWC8, without
// memory: for what is refused before a launch. What the plugin logs goes to stdout after "error: ". LIBRARY alone: what
// it holds.
#include <NvInferRuntime.h>

#include <dlfcn.h>

#include <cstring>
#include <functional>
#include <iostream>
#include <list>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

using namespace nvinfer1;

namespace {

#if NV_TENSORRT_MAJOR < 10
using Size = int32_t;
#else
using Size = int64_t;
#endif

class Logger final : public ILogger {
  public:
    std::ostream* out = &std::cout;

  private:
    void log(Severity, char const* message) noexcept override { *out << "error: " << message << "\n"; }
} logger;

class Finder final : public ILoggerFinder {
    ILogger* findLogger() override { return &logger; }
} finder;

class Number final : public IDimensionExpr {
  public:
    Number(Size value, bool constant) : answers_(value, constant) { mImpl = &answers_; }

  private:
    struct Answers final : apiv::VDimensionExpr {
        Answers(Size value, bool constant) : value(value), constant(constant) {}
        bool isConstant() const override { return constant; }
        Size getConstantValue() const override { return value; }
#if NV_TENSORRT_MAJOR >= 10
        bool isSizeTensor() const override { return false; }
#endif
        Size value;
        bool constant;
    } answers_;
};

class Builder final : public IExprBuilder {
  public:
    Builder() { mImpl = &answers_; }
    IDimensionExpr const* number(Size value, bool constant) { return answers_.number(value, constant); }

  private:
    struct Answers final : apiv::VExprBuilder {
        IDimensionExpr const* number(Size value, bool constant) { return &numbers.emplace_back(value, constant); }
        IDimensionExpr const* constant(Size value) override { return number(value, true); }
        IDimensionExpr const* operation(DimensionOperation operation, IDimensionExpr const& a,
                                        IDimensionExpr const& b) override {
            Size const x = a.getConstantValue();
            Size const y = b.getConstantValue();
            bool const constant = a.isConstant() && b.isConstant();
            switch (operation) {
                case DimensionOperation::kSUM:
                    return number(x + y, constant);
                case DimensionOperation::kPROD:
                    return number(x * y, constant);
                case DimensionOperation::kSUB:
                    return number(x - y, constant);
                case DimensionOperation::kFLOOR_DIV:
                    return number(x / y - (x % y < 0), constant);
                default:
                    std::cout << "operation not played\n";
                    std::exit(1);
            }
        }
#if NV_TENSORRT_MAJOR >= 10
        IDimensionExpr const* declareSizeTensor(int32_t, IDimensionExpr const&, IDimensionExpr const&) override {
            return nullptr;
        }
#endif
        std::list<Number> numbers;
    } answers_;
};

struct Request {
    std::vector<std::string> names;
    std::vector<std::vector<int32_t>> values;
    std::vector<std::vector<std::pair<Size, bool>>> inputs;
};

Request parse(int count, char** words) {
    Request request;
    bool attributes = true;
    for (int i = 0; i < count; ++i) {
        std::string word = words[i];
        if (word == "--") {
            attributes = false;
        } else if (attributes) {
            request.names.push_back(word.substr(0, word.find('=')));
            std::stringstream list(word.substr(word.find('=') + 1));
            request.values.emplace_back();
            for (std::string part; std::getline(list, part, ',');) request.values.back().push_back(std::stoi(part));
        } else {
            std::stringstream list(word);
            request.inputs.emplace_back();
            for (std::string part; std::getline(list, part, 'x');) {
                bool const known = part[0] != '?';
                request.inputs.back().emplace_back(std::stoll(part.substr(known ? 0 : 1)), known);
            }
        }
    }
    return request;
}

#if NV_TENSORRT_MAJOR < 10
using Plugin = IPluginV2DynamicExt;

template <typename Base>
std::shared_ptr<Plugin> owned(Base* plugin) {
    return {static_cast<Plugin*>(plugin), [](Plugin* finished) {
                if (finished != nullptr) finished->destroy();
            }};
}

std::vector<char> saved(Plugin const& plugin) {
    std::vector<char> bytes(plugin.getSerializationSize());
    plugin.serialize(bytes.data());
    return bytes;
}

/// Makes the plugin, then what a plan makes of it, then a clone of that.
std::shared_ptr<Plugin> make(IPluginCreator& creator, PluginFieldCollection const& fields, int32_t inputs) {
    auto const first = owned(creator.createPlugin("layer", &fields));
    if (!first) return nullptr;
    first->configurePlugin(nullptr, inputs, nullptr, 1);
    std::vector<char> const bytes = saved(*first);
    auto const second = owned(creator.deserializePlugin("layer", bytes.data(), bytes.size()));
    std::stringstream complaint;
    logger.out = &complaint;
    auto const torn = owned(creator.deserializePlugin("layer", bytes.data(), bytes.size() - 1));
    logger.out = &std::cout;
    if (!second || torn || complaint.str().find("the plan holds") == std::string::npos) return nullptr;
    auto const third = owned(second->clone());
    return saved(*third) == bytes ? third : nullptr;
}

bool outputOf(Plugin& plugin, std::vector<DimsExprs> const& inputs, Builder& builder, DimsExprs& output) {
    output = plugin.getOutputDimensions(0, inputs.data(), static_cast<int32_t>(inputs.size()), builder);
    return output.nbDims >= 0;
}

DataType typeOf(Plugin& plugin, std::vector<DataType> const& types) {
    return plugin.getOutputDataType(0, types.data(), static_cast<int32_t>(types.size()));
}

bool supports(Plugin& plugin, int32_t position, std::vector<PluginTensorDesc> const& tensors) {
    return plugin.supportsFormatCombination(position, tensors.data(), static_cast<int32_t>(tensors.size()) - 1, 1);
}

int32_t enqueue(Plugin& plugin, std::vector<PluginTensorDesc> const& inputs, PluginTensorDesc const& output) {
    std::vector<void const*> const addresses(inputs.size());
    void* outputs[] = {nullptr};
    return plugin.enqueue(inputs.data(), &output, addresses.data(), outputs, nullptr, nullptr);
}
#else
struct Plugin {
    std::shared_ptr<IPluginV3> whole;
    IPluginV3OneBuild* build;
};

std::shared_ptr<Plugin> wrapped(IPluginV3* plugin) {
    if (plugin == nullptr) return nullptr;
    auto* const build = static_cast<IPluginV3OneBuild*>(plugin->getCapabilityInterface(PluginCapabilityType::kBUILD));
    return std::make_shared<Plugin>(Plugin{std::shared_ptr<IPluginV3>(plugin), build});
}

std::string saved(Plugin const& plugin) {
    auto* const runtime =
        static_cast<IPluginV3OneRuntime*>(plugin.whole->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
    std::stringstream text;
    PluginFieldCollection const& fields = *runtime->getFieldsToSerialize();
    for (int32_t i = 0; i < fields.nbFields; ++i) {
        text << fields.fields[i].name;
        for (int32_t j = 0; j < fields.fields[i].length; ++j) {
            text << " " << static_cast<int32_t const*>(fields.fields[i].data)[j];
        }
    }
    return text.str();
}

/// Makes the plugin, then what a plan makes of it, then a clone of that.
std::shared_ptr<Plugin> make(IPluginCreatorInterface& creator, PluginFieldCollection const& fields, int32_t) {
    auto& one = static_cast<IPluginCreatorV3One&>(creator);
    auto const first = wrapped(one.createPlugin("layer", &fields, TensorRTPhase::kBUILD));
    if (!first) return nullptr;
    auto* const runtime =
        static_cast<IPluginV3OneRuntime*>(first->whole->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
    auto const second = wrapped(one.createPlugin("layer", runtime->getFieldsToSerialize(), TensorRTPhase::kRUNTIME));
    if (!second) return nullptr;
    auto const third = wrapped(second->whole->clone());
    return saved(*third) == saved(*first) ? third : nullptr;
}

bool outputOf(Plugin& plugin, std::vector<DimsExprs> const& inputs, Builder& builder, DimsExprs& output) {
    return plugin.build->getOutputShapes(inputs.data(), static_cast<int32_t>(inputs.size()), nullptr, 0, &output, 1,
                                         builder) == 0;
}

DataType typeOf(Plugin& plugin, std::vector<DataType> const& types) {
    DataType result{};
    plugin.build->getOutputDataTypes(&result, 1, types.data(), static_cast<int32_t>(types.size()));
    return result;
}

bool supports(Plugin& plugin, int32_t position, std::vector<PluginTensorDesc> const& tensors) {
    std::vector<DynamicPluginTensorDesc> dynamic;
    for (auto const& tensor : tensors) dynamic.push_back({tensor, tensor.dims, tensor.dims, tensor.dims});
    return plugin.build->supportsFormatCombination(position, dynamic.data(), static_cast<int32_t>(tensors.size()) - 1,
                                                   1);
}

int32_t enqueue(Plugin& plugin, std::vector<PluginTensorDesc> const& inputs, PluginTensorDesc const& output) {
    auto* const runtime =
        static_cast<IPluginV3OneRuntime*>(plugin.whole->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
    std::vector<void const*> const addresses(inputs.size());
    void* outputs[] = {nullptr};
    runtime->onShapeChange(inputs.data(), static_cast<int32_t>(inputs.size()), &output, 1);
    return runtime->enqueue(inputs.data(), &output, addresses.data(), outputs, nullptr, nullptr);
}
#endif

template <typename Function>
Function* symbol(void* library, char const* name) {
    auto* const found = reinterpret_cast<Function*>(dlsym(library, name));
    if (found == nullptr) {
        std::cout << "no " << name << "\n";
        std::exit(1);
    }
    return found;
}

void printDims(Plugin& plugin, Request const& request) {
    Builder builder;
    std::vector<DimsExprs> inputs;
    for (auto const& sizes : request.inputs) {
        DimsExprs dims{};
        for (auto const& [value, known] : sizes) dims.d[dims.nbDims++] = builder.number(value, known);
        inputs.push_back(dims);
    }
    DimsExprs output{};
    if (!outputOf(plugin, inputs, builder, output)) return;
    for (int32_t i = 0; i < output.nbDims; ++i) {
        std::cout << (i == 0 ? "" : "x") << (output.d[i]->isConstant() ? "" : "?") << output.d[i]->getConstantValue();
    }
    for (DataType const type : {DataType::kFLOAT, DataType::kHALF}) {
        DataType const result = typeOf(plugin, std::vector<DataType>(inputs.size(), type));
        std::cout << (result == DataType::kFLOAT ? " f" : " h");
    }
    std::cout << "\n";
}

void printFormats(Plugin& plugin, Request const& request) {
    std::vector<PluginTensorDesc> tensors(request.inputs.size() + 1);
    for (size_t i = 0; i < request.inputs.size(); ++i) {
        for (auto const& [value, known] : request.inputs[i]) {
            tensors[i].dims.d[tensors[i].dims.nbDims++] = known ? value : -1;
        }
    }
    std::function<void(size_t, std::string)> const descend = [&](size_t position, std::string const& text) {
        if (position == tensors.size()) {
            std::cout << text << "\n";
            return;
        }
        for (DataType const type : {DataType::kFLOAT, DataType::kHALF, DataType::kINT8}) {
            for (TensorFormat const format : {TensorFormat::kLINEAR, TensorFormat::kHWC8, TensorFormat::kCHW32}) {
                // TensorRT promises nothing about the tensors after the one it asks about.
                std::vector<PluginTensorDesc> given = tensors;
                for (size_t later = position + 1; later < given.size(); ++later) given[later].dims.nbDims = 0;
                tensors[position].type = given[position].type = type;
                tensors[position].format = given[position].format = format;
                if (!supports(plugin, static_cast<int32_t>(position), given)) continue;
                char const* const letter = type == DataType::kFLOAT ? "f" : type == DataType::kHALF ? "h" : "i";
                char const* const layout = format == TensorFormat::kLINEAR ? "L"
                                           : format == TensorFormat::kHWC8 ? "8"
                                                                           : "32";
                descend(position + 1, text + (position == 0 ? "" : " ") + letter + layout);
            }
        }
    };
    descend(0, "");
}

void printEnqueue(Plugin& plugin, Request const& request) {
    PluginTensorDesc output{};
    output.type = DataType::kHALF;
    output.format = TensorFormat::kHWC8;
    std::vector<PluginTensorDesc> inputs(request.inputs.size(), output);
    for (size_t i = 0; i < inputs.size(); ++i) {
        if (i > 0) inputs[i].format = TensorFormat::kLINEAR;
        for (auto const& [value, known] : request.inputs[i]) inputs[i].dims.d[inputs[i].dims.nbDims++] = value;
    }
    std::cout << enqueue(plugin, inputs, output) << "\n";
}

}  // namespace

int main(int count, char** words) {
    void* const library = dlopen(words[1], RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        std::cout << dlerror() << "\n";
        return 1;
    }
    symbol<void(ILoggerFinder*)>(library, "setLoggerFinder")(&finder);
    int32_t creator_count = 0;
#if NV_TENSORRT_MAJOR < 10
    auto* const creators = symbol<IPluginCreator* const*(int32_t&)>(library, "getPluginCreators")(creator_count);
#else
    auto* const creators = symbol<IPluginCreatorInterface* const*(int32_t&)>(library, "getCreators")(creator_count);
#endif
    if (count == 2) {
        std::cout << symbol<char const*()>(library, "fairmot_plugins_version")() << "\n";
    }
    Request const request = count > 4 ? parse(count - 4, words + 4) : Request{};
    std::vector<PluginField> fields;
    for (size_t i = 0; i < request.names.size(); ++i) {
        auto const length = static_cast<int32_t>(request.values[i].size());
        fields.emplace_back(request.names[i].c_str(), request.values[i].data(), PluginFieldType::kINT32, length);
    }
    PluginFieldCollection const collection{static_cast<int32_t>(fields.size()), fields.data()};
    for (int32_t i = 0; i < creator_count; ++i) {
#if NV_TENSORRT_MAJOR < 10
        IPluginCreator& creator = *creators[i];
#else
        auto& creator = static_cast<IPluginCreatorV3One&>(*creators[i]);
#endif
        if (count == 2) {
            std::cout << creator.getPluginName() << " " << creator.getPluginVersion();
            PluginFieldCollection const& names = *creator.getFieldNames();
            for (int32_t f = 0; f < names.nbFields; ++f) std::cout << " " << names.fields[f].name;
            std::cout << "\n";
        } else if (std::strcmp(creator.getPluginName(), words[3]) == 0) {
            auto const plugin = make(creator, collection, static_cast<int32_t>(request.inputs.size()));
            if (!plugin) return 0;
            bool const formats = std::strcmp(words[2], "formats") == 0;
            bool const enqueues = std::strcmp(words[2], "enqueue") == 0;
            (enqueues ? printEnqueue : formats ? printFormats : printDims)(*plugin, request);
        }
    }
    return 0;
}
