import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// Flat, and beside the Python that serves it: the wheel takes static/* and the server reads that folder once. Names
// stay the same, because the files are in git, so that `pip install .` needs no Node; the server lets nobody cache them.
export default defineConfig({
  plugins: [react()],
  build: {
    outDir: "../static",
    emptyOutDir: true,
    assetsDir: "",
    assetsInlineLimit: 0, // the page's policy allows scripts and styles from files only
    license: { fileName: "licenses.md" }, // of the libraries in the bundle, as they ask
    rolldownOptions: {
      output: { entryFileNames: "[name].js", chunkFileNames: "[name].js", assetFileNames: "[name][extname]" },
    },
    modulePreload: { polyfill: false },
    cssTarget: ["chrome123", "firefox120", "safari17.5"], // the first with light-dark()
  },
  test: { include: ["test/**/*.test.ts"] },
});
