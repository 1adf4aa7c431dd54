// Says from inside a page how it was laid out, to the page that frames it.
addEventListener("load", () => {
  const shown = (element) =>
    element.getBoundingClientRect().height > 20 && getComputedStyle(element).visibility === "visible";
  const scrolls = (element) => element.closest(".scroll, pre, nav") !== null;
  const images = [...document.images];
  const texts = [...document.querySelectorAll(".plot text")];
  const outside = [...document.querySelectorAll("main *")].filter(
    (element) => !scrolls(element) && element.getBoundingClientRect().right > innerWidth + 1
  );
  parent.postMessage(JSON.stringify({
    width: innerWidth,
    content: document.documentElement.scrollWidth,
    images: images.length,
    broken: images.filter((image) => !image.complete || image.naturalWidth === 0).length,
    reachable: [...document.querySelectorAll("nav a")].map((link) => shown(document.querySelector(link.hash))),
    outside: outside.map((element) => element.outerHTML.slice(0, 80)),
    // Pixels of a plot's text on the screen: its size times the plot's scale.
    plot_text: Math.min(...texts.map((text) => parseFloat(getComputedStyle(text).fontSize) * text.ownerSVGElement.getScreenCTM().a)),
    background: getComputedStyle(document.querySelector("section")).backgroundColor,
    ink: getComputedStyle(document.body).color,
    tick: getComputedStyle(texts[0]).fill,
  }), "*");
});
