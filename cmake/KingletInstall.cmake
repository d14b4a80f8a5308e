# `cmake --install build/release --prefix P` gives the program, its completions and man pages, the headers and the
# libraries with a CMake package: find_package(kinglet) and link kinglet::kinglet.
include(CMakePackageConfigHelpers)

add_library(kinglet_whole INTERFACE)
set_target_properties(kinglet_whole PROPERTIES EXPORT_NAME kinglet)
set(kinglet_exported kinglet_whole kinglet_options)
foreach(folder base tensor model store engine decode measure)
  if(TARGET kinglet_${folder})
    list(APPEND kinglet_exported kinglet_${folder})
    set_target_properties(kinglet_${folder} PROPERTIES EXPORT_NAME ${folder})
    target_link_libraries(kinglet_whole INTERFACE kinglet_${folder})
  endif()
endforeach()
set_target_properties(kinglet_options PROPERTIES EXPORT_NAME options)

# Warnings and the linker are this build's own affair; a consumer gets the include folder only.
foreach(property INTERFACE_COMPILE_OPTIONS INTERFACE_COMPILE_DEFINITIONS INTERFACE_LINK_OPTIONS)
  get_target_property(values kinglet_options ${property})
  if(values AND NOT KINGLET_SANITIZE)
    set_target_properties(kinglet_options PROPERTIES ${property} "$<BUILD_INTERFACE:${values}>")
  endif()
endforeach()
target_include_directories(kinglet_options INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)

install(TARGETS kinglet_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS ${kinglet_exported} EXPORT kinglet ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/kinglet DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")

set(kinglet_package ${CMAKE_INSTALL_LIBDIR}/cmake/kinglet)
install(EXPORT kinglet NAMESPACE kinglet:: DESTINATION ${kinglet_package} FILE kinglet-targets.cmake)
file(WRITE ${PROJECT_BINARY_DIR}/package/kinglet-config.cmake [[
# find_package(kinglet): the library and what it links. Needs Debian's libexpected-dev, nlohmann-json3-dev,
# libutf8proc-dev, libcurl4-openssl-dev, libssl-dev and zlib1g-dev.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
find_dependency(CURL)
find_dependency(ZLIB)
find_dependency(OpenSSL)
find_dependency(nlohmann_json)
find_dependency(PkgConfig)
if(NOT TARGET PkgConfig::UTF8PROC)
  pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
endif()
include(${CMAKE_CURRENT_LIST_DIR}/kinglet-targets.cmake)
]])
write_basic_package_version_file(${PROJECT_BINARY_DIR}/package/kinglet-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/package/kinglet-config.cmake ${PROJECT_BINARY_DIR}/package/kinglet-config-version.cmake
        DESTINATION ${kinglet_package})

# Completions and man pages come out of the program itself, so they need one that runs here.
if(NOT CMAKE_CROSSCOMPILING)
  set(generated ${PROJECT_BINARY_DIR}/generated)
  install(CODE "
    set(program \"$<TARGET_FILE:kinglet_program>\")
    file(MAKE_DIRECTORY \"${generated}/completion\")
    foreach(pair bash=kinglet zsh=_kinglet fish=kinglet.fish)
      string(REPLACE \"=\" \";\" pair \"\${pair}\")
      list(GET pair 0 shell)
      list(GET pair 1 name)
      execute_process(COMMAND \"\${program}\" completion \${shell} OUTPUT_FILE \"${generated}/completion/\${name}\" RESULT_VARIABLE status)
      if(NOT status EQUAL 0)
        message(FATAL_ERROR \"kinglet completion \${shell} failed: \${status}\")
      endif()
    endforeach()
    execute_process(COMMAND \"\${program}\" completion man \"${generated}/man1\" RESULT_VARIABLE status)
    if(NOT status EQUAL 0)
      message(FATAL_ERROR \"kinglet completion man failed: \${status}\")
    endif()")
  install(FILES ${generated}/completion/kinglet DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${generated}/completion/_kinglet DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
  install(FILES ${generated}/completion/kinglet.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
  install(DIRECTORY ${generated}/man1 DESTINATION ${CMAKE_INSTALL_MANDIR} FILES_MATCHING PATTERN "*.1")
endif()
