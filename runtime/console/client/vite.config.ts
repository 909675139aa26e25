import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// Flat, and beside the Python that serves it: the wheel takes static/* and the server reads that folder once.
export default defineConfig({
  plugins: [react()],
  build: {
    outDir: "../static",
    emptyOutDir: true,
    assetsDir: "",
    assetsInlineLimit: 0, // the page's policy allows scripts and styles from files only
    modulePreload: { polyfill: false },
    cssTarget: ["chrome123", "firefox120", "safari17.5"], // the first with light-dark()
  },
  test: { include: ["test/**/*.test.ts"] },
});
