#include "errors.h"

#include <atomic>
#include <cstdio>

namespace fairmot {
namespace {

std::atomic<nvinfer1::ILoggerFinder*> logger_finder{nullptr};

}  // namespace

void setFinder(nvinfer1::ILoggerFinder* finder) noexcept { logger_finder = finder; }

void logError(char const* operation, char const* message) noexcept {
    char line[512];
    std::snprintf(line, sizeof(line), "%s: %s", operation, message);
    nvinfer1::ILoggerFinder* const finder = logger_finder;
    nvinfer1::ILogger* const logger = finder != nullptr ? finder->findLogger() : nullptr;
    if (logger != nullptr) {
        logger->log(nvinfer1::ILogger::Severity::kERROR, line);
    } else {
        std::fprintf(stderr, "%s\n", line);
    }
}

}  // namespace fairmot
