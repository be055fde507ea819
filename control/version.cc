#include "control/version.h"

namespace basalt::control {

Version version() {
    return {.major = BASALT_VERSION_MAJOR,
            .minor = BASALT_VERSION_MINOR,
            .patch = BASALT_VERSION_PATCH};
}

const char* version_text() {
    return "Basalt v" BASALT_VERSION_TEXT;
}

}  // namespace basalt::control
