// The attributes of an operation: whole numbers and short lists of them, read from an ONNX node, kept in a plan.
#pragma once

#include <NvInferRuntime.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fairmot {

/// One attribute by its name in ONNX. The fallback also sets how many numbers it has.
struct AttributeSpec {
    char const* name;
    std::vector<int32_t> fallback;
    int32_t minimum;  ///< smallest value allowed
    int32_t maximum;  ///< largest value allowed
    bool required = false;
};

using AttributeTable = std::vector<AttributeSpec>;

/// Values for every attribute of a table, which must outlive them.
class Attributes {
  public:
    /// Reads the fields of a parser, a script or a plan; a single number is repeated for a whole list.
    /// Throws PluginError for an unknown name, a wrong type or length, and a value out of range.
    static Attributes parse(AttributeTable const& table, nvinfer1::PluginFieldCollection const* fields);

    /// Reads what write() wrote; throws PluginError where the bytes are of another table.
    static Attributes read(AttributeTable const& table, void const* bytes, size_t length);

    /// The number at `element` of the attribute called `name`.
    int32_t get(char const* name, size_t element = 0) const;

    size_t byteCount() const noexcept { return values_.size() * sizeof(int32_t); }
    void write(void* bytes) const noexcept;

    /// Fields that parse() reads back. They point into this object.
    std::vector<nvinfer1::PluginField> fields() const;

  private:
    explicit Attributes(AttributeTable const& table);
    void check() const;

    AttributeTable const* table_;
    std::vector<int32_t> values_;  ///< of all attributes, in the table's order
};

/// The names of a table, for a creator's getFieldNames().
std::vector<nvinfer1::PluginField> fieldNames(AttributeTable const& table);

}  // namespace fairmot
