#include "attributes.h"

#include "errors.h"

#include <cstring>
#include <string>

namespace fairmot {
namespace {

using nvinfer1::PluginField;
using nvinfer1::PluginFieldType;

std::string quoted(char const* name) { return "attribute \"" + std::string(name) + "\""; }

}  // namespace

Attributes::Attributes(AttributeTable const& table) : table_(&table) {
    for (auto const& spec : table) values_.insert(values_.end(), spec.fallback.begin(), spec.fallback.end());
}

Attributes Attributes::parse(AttributeTable const& table, nvinfer1::PluginFieldCollection const* fields) {
    Attributes result(table);
    std::vector<bool> given(table.size(), false);
    int32_t const count = fields != nullptr ? fields->nbFields : 0;
    for (int32_t f = 0; f < count; ++f) {
        PluginField const& field = fields->fields[f];
        size_t start = 0;
        size_t index = 0;
        while (index < table.size() && std::strcmp(table[index].name, field.name) != 0) {
            start += table[index++].fallback.size();
        }
        if (index == table.size()) throw PluginError(quoted(field.name) + " is not known.");
        size_t const wanted = table[index].fallback.size();
        size_t const found = field.data != nullptr && field.length > 0 ? static_cast<size_t>(field.length) : 0;
        if (found != wanted && found != 1) {
            throw PluginError(quoted(field.name) + " has " + std::to_string(found) + " numbers instead of " +
                              std::to_string(wanted) + ".");
        }
        // The parsers of every TensorRT hand over ONNX's whole numbers, 64 bits there, as 32 bits.
        if (field.type != PluginFieldType::kINT32) {
            throw PluginError(quoted(field.name) + " must hold whole numbers of 32 bits.");
        }
        auto const* const numbers = static_cast<int32_t const*>(field.data);
        for (size_t i = 0; i < wanted; ++i) result.values_[start + i] = numbers[found == 1 ? 0 : i];
        given[index] = true;
    }
    for (size_t i = 0; i < table.size(); ++i) {
        if (table[i].required && !given[i]) throw PluginError(quoted(table[i].name) + " is missing.");
    }
    result.check();
    return result;
}

Attributes Attributes::read(AttributeTable const& table, void const* bytes, size_t length) {
    Attributes result(table);
    if (bytes == nullptr || length != result.byteCount()) {
        throw PluginError("the plan holds " + std::to_string(length) + " bytes of attributes instead of " +
                          std::to_string(result.byteCount()) + "; build it again with this plugin library.");
    }
    std::memcpy(result.values_.data(), bytes, length);
    result.check();
    return result;
}

void Attributes::check() const {
    size_t index = 0;
    for (auto const& spec : *table_) {
        for (size_t i = 0; i < spec.fallback.size(); ++i) {
            int32_t const value = values_[index++];
            if (value < spec.minimum || value > spec.maximum) {
                throw PluginError(quoted(spec.name) + " is " + std::to_string(value) + " but must be " +
                                  std::to_string(spec.minimum) + " to " + std::to_string(spec.maximum) + ".");
            }
        }
    }
}

int32_t Attributes::get(char const* name, size_t element) const {
    size_t start = 0;
    for (auto const& spec : *table_) {
        if (std::strcmp(spec.name, name) == 0) return values_.at(start + element);
        start += spec.fallback.size();
    }
    throw PluginError(quoted(name) + " is not in the table.");
}

void Attributes::write(void* bytes) const noexcept { std::memcpy(bytes, values_.data(), byteCount()); }

std::vector<PluginField> Attributes::fields() const {
    std::vector<PluginField> result;
    size_t start = 0;
    for (auto const& spec : *table_) {
        auto const length = static_cast<int32_t>(spec.fallback.size());
        result.emplace_back(spec.name, values_.data() + start, PluginFieldType::kINT32, length);
        start += spec.fallback.size();
    }
    return result;
}

std::vector<PluginField> fieldNames(AttributeTable const& table) {
    std::vector<PluginField> result;
    for (auto const& spec : table) {
        auto const length = static_cast<int32_t>(spec.fallback.size());
        result.emplace_back(spec.name, nullptr, PluginFieldType::kINT32, length);
    }
    return result;
}

}  // namespace fairmot
